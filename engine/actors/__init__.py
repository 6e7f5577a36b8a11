"""The six cores: plain values that decide. None knows another."""
