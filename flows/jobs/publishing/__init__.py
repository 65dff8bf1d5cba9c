"""Publishing: records are checked, then sent at a pace that the flows keep up with."""
