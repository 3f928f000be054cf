"""Print the JSON schema of the configuration as YAML."""

from pipeline_lib.config.experiment import schema

if __name__ == "__main__":
    print(schema(), end="")
