"""The command line: flags made from the settings' fields, help, messages. Knows absl alone."""
