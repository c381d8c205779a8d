"""All that the door knows of single client protocols. A new client is a new file here.

The relay knows purposes alone: what a call is *for*, and so what the door may do with it while the
satellite is not awake. What a request says of itself is read in one place:

purpose.py        what a call is for: work, tells, looks, progress
progress.py       what is told of a wake, where a call's answer can tell it
requests.py       `purpose_of` a method's path, `build_of` a request's metadata, by all dialects
ended.py          what the node answers to a build that was ended before it began to work
thanks.py         what the node answers to calls that only tell
looks.py          what it answers to calls that only look: the worker's last answer
last_answers.py   which are kept in the database, now and then
refusals.py       what a client is told that names no satellite, or shows no credentials

One file a client or protocol, each with a table `PURPOSES` (path: purpose) and what it knows of
builds; calls that are not in any table are work:

buildkit.py       BuildKit's control API: buildctl, docker buildx, EarthBuild
buildkit_progress.py  a wake as a step of its builds; buildkit_session.py keeps them alive over it
bazel.py          remote execution and the build event service; calls that leave their metadata out
opentelemetry.py  the collector's services, which many clients call by themselves
messages/         the few fields of their messages that are read here, as protos of our own

It costs a hot request nothing: only calls for work are remembered by the request cache, and they
have no other purpose; the rest pay one look-up in a dict when they are read.
"""
