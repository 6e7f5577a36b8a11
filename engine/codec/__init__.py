"""What crosses a wire, in pure code: µ-law, frames, sample rates, Twilio's messages, text made speakable."""
