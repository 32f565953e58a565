"""The radio link: tables of rates and delays, channels that draw them, measured traces, fits."""
