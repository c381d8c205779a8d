"""HTTP/2 as the relay needs it: frames read by their headers alone, HPACK without state.

wire.py      frame layout, numbers and builders (RFC 9113 sections 4, 6, 7 and 11)
scanner.py   reads frames; what needs no change passes in one piece
handlers.py  one method for each kind of frame
blocks.py    header blocks (RFC 7541)
outline.py   what of a request's block decides, without decoding it
huffman.py   whether a Huffman string is sound, without decoding it
fields.py    one header field, and whether it may stand in a message
requests.py  is a header list a well-formed request?
settings.py  SETTINGS as values
preface.py   the client's preface, or what comes in its place
replies.py   a refusal in gRPC's words
faults.py    what a peer can do wrong (section 5.4)

Knows of no relay.
"""
