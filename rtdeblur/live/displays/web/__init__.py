"""Live session as a page in a browser, for machines without a screen; needs the extra `live`."""
