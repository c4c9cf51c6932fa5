"""What an SMS provider does with a message, by the number that it goes to."""

from enum import Enum, auto

from deploy.counterparts.phone import Part


class Behaviour(Enum):
    """What the SMSC does with a part."""

    TAKE = auto()
    THROTTLE = auto()
    QUEUE_FULL = auto()
    REFUSE = auto()
    SILENT = auto()
    SLOW = auto()
    CUT = auto()
    UNDELIVERABLE = auto()
    LATE = auto()
    TWICE = auto()
    DISORDERED = auto()
    STRANGE = auto()


_OF_NUMBER = {
    "886900000088": Behaviour.THROTTLE,
    "886900000020": Behaviour.QUEUE_FULL,
    "886900000011": Behaviour.REFUSE,
    "886900000000": Behaviour.SILENT,
    "886900000010": Behaviour.SLOW,
    "886900000099": Behaviour.CUT,
    "886900000005": Behaviour.UNDELIVERABLE,
    "886900000006": Behaviour.LATE,
    "886900000007": Behaviour.TWICE,
    "886900000008": Behaviour.DISORDERED,
    "886900000009": Behaviour.STRANGE,
}


def by_number(part: Part) -> Behaviour:
    return _OF_NUMBER.get(part.to, Behaviour.TAKE)
