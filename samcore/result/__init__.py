"""Published results: their records, and the way to read one in a program."""

from samcore.result.reader import Result as Result
from samcore.result.reader import ResultFrame as ResultFrame
