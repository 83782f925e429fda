"""`mm1 plan`: memory, time, traffic and a layout of a training stage before anything is rented."""
