"""What is said of somebody in a line, wherever people are shown."""

from model.people.records import Person
from pipeline.skeletons import JointSet


def who(person: Person, number: int) -> str:
    """number: among the people of the picture, from 0."""
    return f"person {number + 1}" if person.track is None else f"track {person.track}"


def about(person: Person, number: int, joint_set: JointSet) -> str:
    """Who it is, how far away, how sure the joints are, and what speaks against the body."""
    said = f"{who(person, number)}: {person.root[2]:.1f} m away, joints {round(100 * float(person.confidence.mean()))} % sure"
    doubts = f"; doubtful: {person.doubts}" if person.doubts else ""
    if person.spread is None:
        return said + doubts
    worst = int(person.spread.argmax())
    worst_off = f"{joint_set.names[worst].replace('_', ' ')} {1000 * person.spread[worst]:.0f} mm"
    if "mm off" in doubts:  # says already how far all joints are off
        return f"{said}{doubts}, {worst_off}"
    return f"{said}, about {1000 * person.spread.mean():.0f} mm off, {worst_off}{doubts}"
