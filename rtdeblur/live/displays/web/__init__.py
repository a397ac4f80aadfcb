"""A live session as a page in a browser, for machines without a display; needs the extra `live`."""
