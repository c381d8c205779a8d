"""A faithful EC2 on this machine: moto's server with time, refusals and real workers.

moto knows EC2's resources, filters and instance types, and nothing of time. In front of it stand
the rules below; where a document of AWS says so, its title follows in brackets. EUG is the Amazon
EC2 User Guide, EDG the Amazon EC2 Developer Guide, EAR the Amazon EC2 API Reference, IUG the IAM
User Guide.

Time
  * pending, running, stopping, stopped, shutting-down and terminated last as `Timing` says; all
    of it can be sped up [EUG, Amazon EC2 instance state changes]
  * a new machine is found only after a while, until then InvalidInstanceID.NotFound
    [EDG, Ensuring idempotency and eventual consistency]
  * hibernating takes the longer the more memory there is, and so does resuming
    [EUG, How Amazon EC2 instance hibernation works]

State
  * starting what runs, and stopping what is stopped, changes nothing; what is stopping cannot be
    started, nor what is pending stopped: IncorrectInstanceState [EDG, Error codes]
  * a request is taken or refused as a whole, also one that names many instances
  * the private address is kept, the public one changes [EUG, Stop and start EC2 instances]
  * the type is changed only while stopped, and not while hibernated [EUG, Change the instance
    type; EUG, Limitations for hibernation]

Hibernation [EUG, Prerequisites for EC2 instance hibernation; EUG, Troubleshoot hibernation]
  * is set up at launch or never: the type must support it, with less than 150 GiB of memory and
    an encrypted root that has room for it, else UnsupportedHibernationConfiguration
  * is refused for two minutes after a launch: UnsupportedOperation
  * may turn into a shutdown, by script: "If an instance cannot hibernate successfully, a normal
    shutdown occurs". StateReason says Client.UserInitiatedHibernate all the same: that hibernation
    was initiated [EAR, StateReason]. Whether the memory was kept is seen in the machine alone
  * a start may be accepted and the machine stop again with a reason, by script, as where the key
    of its volumes is disabled [EUG, Instance terminates immediately]

Requests
  * ClientToken: the same token and arguments give the same instance, other arguments
    IdempotentParameterMismatch [EDG, Ensuring idempotency in Amazon EC2 API requests]
  * token buckets for requests and for the resources in them, refilled once a second:
    RequestLimitExceeded, HTTP 503 [EDG, Request throttling for the Amazon EC2 API]
  * capacity by size and zone, InsufficientInstanceCapacity; any other refusal and lost answers by
    script, one for each call or many [EDG, Error codes]
  * AssumeRole wants the external id that the role's trust policy asks for, if it is told one
    [IUG, Access to AWS accounts owned by third parties]

Workers
  * behind each machine a real process listens on its private address, which is a loopback
    address: a VPC here lies within 127.0.0.0/8. It is started when the machine has booted, frozen
    while it hibernates, continued when it resumes, ended when it stops.

Not modelled: signatures and policies, spot, the 60 days after which a hibernated machine is lost,
status checks, EventBridge. What it was asked is in its log, one entry a request, with the machines
on which it had an effect. The server speaks EC2 at `/` and its own words at `/faithful/`.

Everything here is loaded only when asked for: moto is a development dependency.
"""
