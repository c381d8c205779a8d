"""Who is turned away, and what an administrator cannot do (family 11xx)."""

from __future__ import annotations

from torpor_provisioner.errors import Status, TorporError


class AccessError(TorporError):
    """What access to a satellite, or its administration, can fail with."""


class BadToken(AccessError):
    code = "TPR-1101"
    status = Status.UNAUTHENTICATED
    cause = "The token is not known here"
    remedy = "Check that it was copied whole; 'torpor token create ORG NAME' makes a new one"


class TokenEnded(AccessError):
    code = "TPR-1102"
    status = Status.UNAUTHENTICATED
    cause = "The token has expired or was revoked"
    remedy = "Ask the platform team for a new one ('torpor token create ORG NAME')"


class OtherOrg(AccessError):
    """Told whether or not that org and its satellite exist."""

    code = "TPR-1103"
    status = Status.PERMISSION_DENIED
    cause = "The credentials are not for this org"
    remedy = "Correct the org in the satellite's name, or use a token of that org"


class NoSuchSatellite(AccessError):
    code = "TPR-1104"
    status = Status.NOT_FOUND
    cause = "The org has no satellite of this name"
    remedy = "'satellite ls' lists them, 'satellite launch NAME' makes one"


class UnknownCertificate(AccessError):
    code = "TPR-1105"
    status = Status.UNAUTHENTICATED
    cause = "The client certificate names an org that is not known here"
    remedy = "Check its URI SAN (torpor://org/ORG), or run 'torpor org create ORG'"


class CertificateRevoked(AccessError):
    code = "TPR-1106"
    status = Status.UNAUTHENTICATED
    cause = "The client certificate was revoked"
    remedy = "Use a new one; 'torpor cert ls' shows the platform team when and why it was revoked"


class AuthorityReplaced(AccessError):
    code = "TPR-1120"
    status = Status.UNAUTHENTICATED
    cause = "The CA of the client certificate is no longer believed"
    remedy = "Ask the platform team for a certificate of the CA that the router believes now"


class CertificateEnded(AccessError):
    code = "TPR-1107"
    status = Status.UNAUTHENTICATED
    cause = "The client certificate is past its end"
    remedy = "Renew it; the certificate's 'notAfter' says until when it is good"


class CertificateNotYet(AccessError):
    code = "TPR-1125"
    status = Status.UNAUTHENTICATED
    cause = "The client certificate is not good yet"
    remedy = (
        "Compare the clocks of the CA and the router; its 'notBefore' says since when it is good"
    )


class OtherSatellite(AccessError):
    code = "TPR-1108"
    status = Status.PERMISSION_DENIED
    cause = "The client certificate is for another satellite"
    remedy = "Use a certificate of this satellite, or one of the whole org (torpor://org/ORG)"


class UnusableName(AccessError):
    code = "TPR-1111"
    status = Status.INVALID_ARGUMENT
    cause = "The name cannot be used"
    remedy = "Use lower-case letters, digits and hyphens; orgs at most 40, tokens at most 64"


class UnknownOrg(AccessError):
    code = "TPR-1112"
    status = Status.NOT_FOUND
    cause = "There is no org of this name"
    remedy = "'torpor org ls' lists them, 'torpor org create ORG' makes one"


class OrgExists(AccessError):
    code = "TPR-1113"
    status = Status.ALREADY_EXISTS
    cause = "There is an org of this name already"
    remedy = "Choose another name"


class TokenExists(AccessError):
    code = "TPR-1114"
    status = Status.ALREADY_EXISTS
    cause = "The org has a token of this name already"
    remedy = "Choose another name, or revoke that one first ('satellite' or 'torpor token revoke')"


class UnknownToken(AccessError):
    code = "TPR-1115"
    status = Status.NOT_FOUND
    cause = "The org has no such token"
    remedy = "'satellite token ls' or 'torpor token ls' lists those that were not revoked"


class BadLifetime(AccessError):
    code = "TPR-1116"
    status = Status.INVALID_ARGUMENT
    cause = "The token's lifetime cannot be used"
    remedy = "Give a number and a unit, such as 12h or 90d; ten years at most"


class NotRevoked(AccessError):
    code = "TPR-1117"
    status = Status.NOT_FOUND
    cause = "The certificate is not revoked"
    remedy = "'torpor cert ls' lists those that are, under the name that they were revoked by"


class AlreadyRevoked(AccessError):
    code = "TPR-1118"
    status = Status.ALREADY_EXISTS
    cause = "The certificate is revoked already"
    remedy = "Nothing to do: 'torpor cert ls' says since when"


class UnusableCertificate(AccessError):
    code = "TPR-1119"
    status = Status.INVALID_ARGUMENT
    cause = "The certificate to revoke cannot be read"
    remedy = "Give its PEM file, its serial number or its SHA-256 ('openssl x509 -serial -in FILE')"


class RoleForbids(AccessError):
    code = "TPR-1130"
    status = Status.PERMISSION_DENIED
    cause = "The role of these credentials does not allow this"
    remedy = "Ask an admin of the org; 'satellite whoami' shows what they allow"


class TokenForOthers(AccessError):
    """Raised whether or not that satellite exists."""

    code = "TPR-1131"
    status = Status.PERMISSION_DENIED
    cause = "The token is for other satellites of the org"
    remedy = "Use another token; 'satellite whoami' shows which satellites this one is for"


class UnknownRole(AccessError):
    code = "TPR-1132"
    status = Status.INVALID_ARGUMENT
    cause = "There is no such role"
    remedy = "Use 'admin', 'member', 'ci' or 'viewer'"


class UnknownMember(AccessError):
    code = "TPR-1133"
    status = Status.NOT_FOUND
    cause = "The org has no such member"
    remedy = "'satellite member ls' or 'torpor member ls' lists them, 'add' adds one"


class MemberExists(AccessError):
    code = "TPR-1134"
    status = Status.ALREADY_EXISTS
    cause = "The org has a member of this name already"
    remedy = "Choose another name, or change its role ('satellite' or 'torpor member set')"


class OrgNotNamed(AccessError):
    code = "TPR-1135"
    status = Status.INVALID_ARGUMENT
    cause = "An operator's call must say which org it is about"
    remedy = "Name it: --org ORG, or the metadata 'satellite_org'"


class MoreThanOwn(AccessError):
    code = "TPR-1136"
    status = Status.PERMISSION_DENIED
    cause = "Nobody can give more rights than they have"
    remedy = "Give a role and satellites that your own credentials cover"


class TooManyGuesses(AccessError):
    code = "TPR-3023"
    status = Status.RESOURCE_EXHAUSTED
    cause = "Too many tokens that nobody has came from this address"
    remedy = "Correct the token and retry in a minute; callers that this router knows are let in"


class TooManyLookups(AccessError):
    code = "TPR-3013"
    status = Status.UNAVAILABLE
    cause = "Too many callers that this router does not know yet ask at once"
    remedy = "Retry in a few seconds; those that it knows are let in meanwhile"


class LetInAgain(AccessError):
    code = "TPR-5216"
    status = Status.FAILED_PRECONDITION
    cause = "The database lets in what was revoked: it is older than what this router has seen"
    remedy = "'torpor token revived' lists them; revoke them again, or believe it with --forget"


class UnreadableEndings(AccessError):
    code = "TPR-5217"
    status = Status.FAILED_PRECONDITION
    cause = "The router's own list of what was revoked cannot be read or written"
    remedy = "Mend the file or its folder; without it a restored database goes unnoticed"
