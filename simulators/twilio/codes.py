"""The phone network's numbered errors and warnings, as Twilio's error dictionary has them."""

import enum


class Code(enum.IntEnum):
    """What can be wrong, by Twilio's number."""

    RETRIEVAL_FAILURE = 11200
    DOCUMENT_FAILURE = 12100
    SCHEMA_WARNING = 12200
    WRONG_CONTENT = 12300
    CONNECT_TIMEOUT = 31901
    CONNECT_REFUSED = 31902
    NO_UPGRADE = 31920
    CLOSED_BY_SERVER = 31921
    NOT_WSS = 31922
    MALFORMED_URL = 31923
    CONGESTED = 31930
    OVERFLOW = 31931
    UNDECODABLE = 31950
    NON_COMPLIANT = 31951


class TwilioError(Exception):
    """What ends a document or a connection, and is noted for the server's owner under a code."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code
