"""Values as JSON: checked, copied, digested and written as text, whatever they hold."""
