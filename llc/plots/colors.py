"""Okabe & Ito's colours (2008), which colour-blind eyes tell apart; lines differ in style too, for grey print."""

BLUE = "#0072B2"
VERMILLION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
SKY = "#56B4E9"
ORANGE = "#E69F00"
YELLOW = "#F0E442"

IN_ORDER = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, YELLOW)
STYLES = ("-", "--", "-.", ":")
MARKERS = "os^Dv*P"
