#!/usr/bin/env python3
"""Draws a terminal's text as an SVG picture, for the README.

    posthaste dev | python3 docs/terminal-picture.py > docs/dev.svg
"""

import html
import sys

LINE, CHAR, PAD = 18, 7.8, 20
COLOURS = {"✓": "#5fd196", "✕": "#ff8a80", "↻": "#f2b45c"}

lines = ["$ cargo run --release -- dev"] + [line.rstrip("\n") for line in sys.stdin]
width = int(PAD * 2 + CHAR * max(len(line) for line in lines))
height = PAD * 2 + LINE * len(lines)
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">')
print(f'<rect width="{width}" height="{height}" rx="6" fill="#0f1217"/>')
print('<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="13" fill="#e8ebf0">')
for n, line in enumerate(lines):
    colour = next((COLOURS[mark] for mark in COLOURS if mark in line), None)
    fill = f' fill="{colour}"' if colour else ""
    print(f'<text x="{PAD}" y="{PAD + LINE * n + 13}" xml:space="preserve"{fill}>{html.escape(line)}</text>')
print("</g></svg>")
