"""What is said of somebody in a line, wherever people are shown."""

from model.people.records import Person
from pipeline.skeletons import JointSet


def who(person: Person, number: int) -> str:
    """number: among the people of the picture, from 0."""
    return f"person {number + 1}" if person.track is None else f"track {person.track}"


def about(person: Person, number: int, joint_set: JointSet) -> str:
    """Who it is, how far away, how sure the joints are, and what speaks against the body."""
    said = [f"{person.root[2]:.1f} m away", f"joints {round(100 * float(person.confidence.mean()))} % sure"]
    if person.spread is not None:
        worst = int(person.spread.argmax())
        said.append(
            f"about {1000 * person.spread.mean():.0f} mm off, {joint_set.names[worst].replace('_', ' ')} "
            f"{1000 * person.spread[worst]:.0f} mm"
        )
    doubts = f"; doubtful: {person.doubts}" if person.doubts else ""
    return f"{who(person, number)}: {', '.join(said)}{doubts}"
