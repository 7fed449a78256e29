"""The page's style: one column on a phone, light or dark as the reader's system is."""

from __future__ import annotations

from pipeline.report.plots.picture import COLOURS

RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:1240px;padding:1rem clamp(.8rem,3vw,2rem) 3rem;background:var(--paper);color:var(--ink);
font:16px/1.5 var(--font)}
h1{font-size:1.7rem;line-height:1.2;margin:.5rem 0}
h2{font-size:1.25rem;line-height:1.3;margin:2.4rem 0 .6rem;border-bottom:1px solid var(--grid);padding-bottom:.3rem}
h3{font-size:1.05rem;margin:1.6rem 0 .4rem}
h1,h2,summary,p,li,figcaption,td{overflow-wrap:anywhere}
a{color:var(--c0)}
p,ul{max-width:75ch}
.muted,figcaption,.note{color:var(--muted);font-size:.86rem}
.banner{border:2px solid var(--warn);color:var(--warn);border-radius:6px;padding:.6rem .9rem;font-weight:600}
nav div{margin:.15rem 0}
nav .of{display:block;font-weight:600;margin-top:.5rem}
.below{display:none}
nav a{display:inline-block;margin:.1rem 1rem .1rem 0;padding:.2rem 0}
.scroll{overflow-x:auto;margin:0 0 1.2rem;-webkit-overflow-scrolling:touch}
table{border-collapse:separate;border-spacing:0;font-size:.84rem;font-variant-numeric:tabular-nums}
.caption{margin:1rem 0 .2rem}
.files{white-space:nowrap}
th,td{padding:.34rem .6rem;border-bottom:1px solid var(--grid);text-align:right;vertical-align:top}
th{border-bottom:2px solid var(--muted);vertical-align:bottom;white-space:pre;font-weight:600}
td{white-space:nowrap}
.l{text-align:left}
.w{white-space:normal;min-width:11rem}
th:first-child,td:first-child{position:sticky;left:0;background:var(--paper);text-align:left;padding-left:0}
td:first-child{white-space:normal;overflow-wrap:break-word;min-width:min(14rem,36vw);max-width:18rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:1.4rem;align-items:start}
figure{margin:0;min-width:0}
figure svg{display:block;width:100%;height:auto;max-width:440px;stroke-linejoin:round;stroke-linecap:butt}
figure.wide{grid-column:1/-1;overflow-x:auto}
figure.wide svg{max-width:none;min-width:680px}
figcaption{margin-top:.2rem;max-width:440px}
.figures .note{grid-column:1/-1;margin:0}
details{border:1px solid var(--grid);border-radius:6px;padding:0 .9rem;margin:.7rem 0}
summary{cursor:pointer;padding:.6rem 0;font-weight:600}
summary .muted{font-weight:400}
details[open]{padding-bottom:1rem}
.clips td:first-child{max-width:26rem}
audio{display:block;width:240px;max-width:100%;height:34px}
code,.path{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.82rem;
overflow-wrap:anywhere}
footer{margin-top:3rem;border-top:1px solid var(--grid);padding-top:.8rem}
@media (max-width:600px){
.noted th:last-child,.noted td:last-child{display:none}
.below{display:block;margin:-.6rem 0 1.2rem;padding-left:1.1rem}
.clips table,.clips tbody,.clips tr,.clips td{display:block;width:auto;max-width:none}
.clips thead{display:none}
.clips tr{border-bottom:1px solid var(--grid);padding:.6rem 0}
.clips td,.clips td:first-child{border:0;padding:.05rem 0;text-align:left;white-space:normal;position:static;max-width:none}
.clips td[data-name]::before{content:attr(data-name) ": ";color:var(--muted)}
audio{width:100%;margin-top:.3rem}
}
@media print{details{border:0;padding:0}body{max-width:none}}
"""

FONT = 'system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif'


def style() -> str:
    """The content of the page's ``<style>``."""
    light, dark = ("".join(f"--{name}:{both[i]};" for name, both in COLOURS.items()) for i in (0, 1))
    return (
        f":root{{color-scheme:light dark;--font:{FONT};{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{RULES.strip()}\n"
    )
