"""The result that the report's tests are about."""

from tests.samcore.report.conftest import facts, table, video, video_path

__all__ = ["facts", "table", "video", "video_path"]
