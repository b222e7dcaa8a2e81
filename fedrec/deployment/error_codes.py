"""Numbers of error replies between hosts. Flower keeps those below 1000 for itself."""

NOT_APPROVED = 1001  # the market's operator has not allowed the bundle
WORKER_DIED = 1002  # the market's process was killed; asked again, it may answer
REFUSED = 1003  # the coordinator has not looked into a reply
EXPIRED = 1004  # the answer would come, or came, after the deadline
FAILED = 1005  # the market's executor itself raised
NOT_STARTED = 1006  # the bundle's process does not come up
OTHER_VERSION = 1007  # the bundle is of another version than the market's host
