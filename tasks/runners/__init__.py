"""Where units of work of one run are done: in this process, in others, on other machines."""
