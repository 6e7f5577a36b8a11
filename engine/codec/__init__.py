"""What crosses a wire, in pure code: µ-law, frames, rates, Twilio's messages, text made speakable, words told twice."""
