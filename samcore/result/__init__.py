"""Published results: their records, a program's way to read one, and stores to publish to."""

from samcore.result.reader import Result as Result
from samcore.result.reader import ResultFrame as ResultFrame
