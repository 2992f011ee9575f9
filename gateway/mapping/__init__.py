"""The mapping language: YAML that hospital IT writes -> frozen, compiled rules. No expressions, no evaluation of text."""
