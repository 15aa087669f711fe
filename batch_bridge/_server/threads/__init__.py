"""What a bridge knows of the threads that wait for it: how they look, who may resume one, which are stranded."""
