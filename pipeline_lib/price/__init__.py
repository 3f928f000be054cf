"""What a run takes: its work beforehand, the speed of a device, time, storage and money from both, and what was spent."""
