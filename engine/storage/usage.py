"""What calls cost in tokens, as it is reported: used and wasted apart."""

import attrs


@attrs.frozen(kw_only=True)
class Usage:
    """What requests to one vendor's models have cost.

    wasted: of these nothing was used: the caller went on, or other words were answered.
    output_tokens: at least so many: a vendor does not say how many it had written when it was cut off.
    """

    vendor: str
    wasted: bool
    requests: int
    input_tokens: int
    output_tokens: int
