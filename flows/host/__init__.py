"""What flows and adapters share of this machine: state directory, files, terminal, user modules, HTTP."""
