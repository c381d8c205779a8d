"""HTTP/2 as the relay needs it: frames read by their headers alone, HPACK without state."""
