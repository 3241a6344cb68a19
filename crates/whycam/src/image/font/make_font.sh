#!/bin/sh
# Makes Inter-Regular.subset.otf: Inter Regular with the characters that captions need.
# Needs Debian's apt-get and Python with fonttools 4.68.0 (`pip install fonttools==4.68.0`). Run it in this folder.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download fonts-inter=4.0~beta7+ds-1 && dpkg-deb -x fonts-inter_*.deb .)
# Basic Latin, Latin-1, Latin Extended-A, Greek; dashes, quotes, dots; super- and subscript digits, euro; arrows;
# mathematical signs; warning sign. The outline of .notdef is the replacement for everything else.
pyftsubset "$work/usr/share/fonts/opentype/inter/Inter-Regular.otf" \
  --unicodes="U+20-7E,U+A0-17F,U+370-3FF,U+2010-2015,U+2018-201E,U+2022,U+2026,U+2032,U+2033,U+2070-2089,U+20AC,U+2190-2193,U+2202,U+2206,U+2211,U+2212,U+221A,U+221E,U+2248,U+2260,U+2264,U+2265,U+26A0" \
  --layout-features='' --no-hinting --notdef-outline --output-file=Inter-Regular.subset.otf
sha256sum Inter-Regular.subset.otf
