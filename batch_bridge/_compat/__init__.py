"""Every use of an API that its package keeps private, one module a package."""
