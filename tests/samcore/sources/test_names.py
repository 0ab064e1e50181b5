"""Names of outputs: never two alike."""

from samcore.sources.names import output_names, output_stems


def test_names_are_paths_below_what_all_have_in_common() -> None:
    """The common folder is left out; a single file has its own name."""
    assert output_names(["/data/cats/1.jpg", "/data/dogs/1.jpg"]) == ["cats/1.jpg", "dogs/1.jpg"]
    assert output_names(["/data/cats/1.jpg"]) == ["1.jpg"]
    assert output_names(["/1.jpg", "/2.jpg"]) == ["1.jpg", "2.jpg"]
    assert output_names(["s3://a/x/1.jpg", "s3://b/x/1.jpg"]) == ["a/x/1.jpg", "b/x/1.jpg"]
    assert output_names(["/x/1.jpg", "s3://x/1.jpg"]) == ["x/1.jpg", "s3_/x/1.jpg"]


def test_stems_keep_their_endings_where_two_would_meet() -> None:
    """Outputs have endings of their own, and 1.jpg and 1.png must not both become 1.jpg."""
    assert output_stems(["a/1.jpg", "a/2.jpg"]) == ["a/1", "a/2"]
    assert output_stems(["1.jpg", "1.png", "2.jpg"]) == ["1.jpg", "1.png", "2"]
    assert output_stems(["1.jpg", "1.JPG.png", "2"]) == ["1.jpg"[:-4], "1.JPG.png", "2"]


def test_no_folder_is_in_the_way_of_a_file() -> None:
    """Beside a folder a.jpg the drawn picture of a.png cannot be called a.jpg."""
    names = ["a.png", "a.JPG/1.png", "b.png", "b.jpg/1.jpg", "b.png.jpg/2.jpg"]
    stems = output_stems(names)

    assert stems == ["a.png", "a.JPG/1", "b.png_", "b.jpg/1", "b.png.jpg/2"]


def test_stems_are_all_different() -> None:
    """Also where a name without its ending is another's whole name."""
    names = ["1.jpg", "1.jpg.png", "1", "1.png", "A.jpg", "a.png"]
    stems = output_stems(names)

    assert len({stem.casefold() for stem in stems}) == len(names)
