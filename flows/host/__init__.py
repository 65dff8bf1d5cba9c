"""The machine, for flows and adapters: state directory, files, terminal, user modules, HTTP."""
