"""The phone network: plays Twilio's part towards a server that answers calls.

Nothing here shares a line with the engine's own Twilio code: a misreading of the protocol must show as a quarrel
between the two, not as an agreement. Facts are Twilio's: Programmable Voice, TwiML and Media Streams, as documented in
November 2026, and as measured by others on live calls where the documents are silent.
"""
