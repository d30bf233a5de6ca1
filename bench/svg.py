"""Horizontal bar charts as SVG, without a library: for each row one bar a contender, its value written beside it."""
from xml.sax.saxutils import escape

COLOURS = {"Fairlead": "#2f6fb5", "etcd": "#c8792b"}
LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 250, 420, 110
BAR_HEIGHT, BAR_GAP, ROW_GAP, TOP, BOTTOM = 16, 3, 14, 62, 16


def number(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def head(title, width, height):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="16" y="24" font-size="16" font-weight="bold" fill="#222">{escape(title)}</text>']


def shares(title, unit, rows):
    """rows: [(label, ratio, most)]: a bar for each ratio, and a line where `most` is."""
    label_width, row_height = 430, BAR_HEIGHT + 8
    longest = max([1.1] + [ratio for _, ratio, _ in rows] + [most for _, _, most in rows])
    width, height = label_width + BAR_WIDTH + VALUE_WIDTH, TOP + len(rows) * row_height + BOTTOM
    out = head(title, width, height)
    out.append(f'<text x="16" y="47" fill="#777">{escape(unit)}</text>')
    for index, (label, ratio, most) in enumerate(rows):
        y = TOP + index * row_height
        length, limit = (max(1.0, value / longest * BAR_WIDTH) for value in (ratio, most))
        colour = COLOURS["Fairlead"] if ratio <= most else "#b03030"
        out.append(f'<text x="{label_width - 10}" y="{y + 13}" text-anchor="end" fill="#222">{escape(label)}</text>')
        out.append(f'<rect x="{label_width}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" fill="{colour}"/>')
        out.append(f'<rect x="{label_width + limit:.1f}" y="{y - 3}" width="2" height="{BAR_HEIGHT + 6}" fill="#222"/>')
        out.append(f'<text x="{label_width + max(length, limit) + 8:.1f}" y="{y + 13}" fill="#444">{ratio * 100:.0f} %</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def bars(title, unit, rows):
    """rows: [(label, {contender: value})]; returns the text of the file."""
    names = list(COLOURS)
    most = max((v for _, values in rows for v in values.values()), default=1) or 1
    row_height = len(names) * (BAR_HEIGHT + BAR_GAP) + ROW_GAP
    width, height = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH, TOP + len(rows) * row_height + BOTTOM
    out = head(title, width, height)
    x = 16
    for name in names:
        out.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{COLOURS[name]}"/>')
        out.append(f'<text x="{x + 17}" y="47" fill="#444">{escape(name)}</text>')
        x += 30 + 8 * len(name)
    out.append(f'<text x="{x + 10}" y="47" fill="#777">{escape(unit)}</text>')
    for index, (label, values) in enumerate(rows):
        y = TOP + index * row_height
        middle = y + len(names) * (BAR_HEIGHT + BAR_GAP) / 2 + 3
        out.append(f'<text x="{LABEL_WIDTH - 10}" y="{middle:.0f}" text-anchor="end" fill="#222">{escape(label)}</text>')
        for name in names:
            if name in values:
                length = max(1.0, values[name] / most * BAR_WIDTH)
                out.append(f'<rect x="{LABEL_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" '
                           f'fill="{COLOURS[name]}"/>')
                out.append(f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{y + 13}" fill="#444">'
                           f"{number(values[name])}</text>")
            y += BAR_HEIGHT + BAR_GAP
    out.append("</svg>")
    return "\n".join(out) + "\n"
