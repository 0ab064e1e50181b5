"""In which direction of time an object is tracked from its prompts."""

from typing import Literal

Direction = Literal["forward", "backward", "both"]
"""`forward`: from the object's first prompt to the end. `backward`: from its first prompt to the
beginning; frames after it are not tracked. `both`: one masklet over all frames."""
