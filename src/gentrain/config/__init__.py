"""The configuration of a command: its keys, its checks, and the objects that it names.

- `schema`: the keys at the top of each command's configuration
- `types`: numbers with a range, for constructor arguments
- `validate`: the check of a configuration against the constructors that it names
- `build`: the objects
- `paths`: where the YAML files are
"""
