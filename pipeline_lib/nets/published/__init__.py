"""The networks that the paper compares with (Table 3), as layers."""
