"""The status page: the fleet as people look at it in a browser. It changes nothing.

From the outside in:

listener.py    the socket: TLS, strangers, browsers that never ask
app.py         which address is which page
guard.py       around every request: headers, errors, time, who is signed in
signing.py     signing in and out
pages.py       the pages (usage_page.py: money), each from one look at the database
live.py        what changes, to every page that is open: one look a second for all of them
boards.py      the fleet as it was seen last, for when the database is away

filters.py     what a page is asked for
views.py       a satellite as a page shows it (strips.py: its days as a picture; plots.py: others)
rendering.py   templates/ into HTML; static/ has the style and the script

errors.py      the codes (family 55xx)

A part of the router that nobody loads unless `--status` is given.
"""
