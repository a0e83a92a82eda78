"""What the pictures share: elements, and colours that are readable on a light page and on a dark one."""

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

SERIES = ("#1a7fd4", "#e07b16", "#2f9e44", "#c2378c", "#8a63d2", "#0b9aa0")
"""Colours of lines; each has contrast enough on both backgrounds."""

_STYLE = """\
  text { font-family: -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; font-size: 12px; fill: #1f2328; }
  .background { fill: #ffffff; }
  .group { fill: #f6f8fa; stroke: #d0d7de; }
  .box { fill: #ffffff; stroke: #57606a; }
  .title { font-weight: 600; }
  .small { font-size: 10.5px; fill: #57606a; }
  .heading { font-size: 15px; font-weight: 600; }
  .line { fill: none; stroke: #57606a; stroke-width: 1.4; }
  .secondary { stroke-dasharray: 5 4; }
  .grid { stroke: #d0d7de; stroke-width: 0.6; }
  .arrowhead { fill: #57606a; }
  .fine { fill: #2f9e44; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .background { fill: #0d1117; }
    .group { fill: #161b22; stroke: #30363d; }
    .box { fill: #0d1117; stroke: #8b949e; }
    .small { fill: #9da7b3; }
    .line { stroke: #8b949e; }
    .grid { stroke: #30363d; }
    .arrowhead { fill: #8b949e; }
    .fine { fill: #3fb950; }
  }
"""
_DEFINITIONS = (
    '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path class="arrowhead" d="M0 0 10 5 0 10z"/></marker></defs>'
)


def document(width: float, height: float, title: str, elements: Iterable[str]) -> str:
    """Return an SVG document.

    Args:
        width: In pixels.
        height: In pixels.
        title: What it shows, for those who can't see it.
        elements: Its elements.
    """
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{_STYLE}</style>",
            _DEFINITIONS,
            rectangle(0, 0, width, height, "background"),
            *elements,
            "</svg>\n",
        ]
    )


def rectangle(x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> str:
    """Return a rectangle of a class of the style."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}"/>'


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """Return a line of text whose baseline is at `y`."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(content)}</text>'


def polyline(points: Iterable[tuple[float, float]], kind: str = "", colour: str = "", *, is_arrow: bool = False) -> str:
    """Return a line through points, of a class of the style or of a colour."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    paint = f" style={quoteattr(f'fill:none;stroke:{colour};stroke-width:1.6')}" if colour else f' class="{kind}"'
    arrow = ' marker-end="url(#arrow)"' if is_arrow else ""
    return f'<polyline points="{path}"{paint}{arrow}/>'
