/* The style sheet of the report pages. Light, and dark where the reader's system is. */
#ifndef GM_COMMAND_STYLE_H
#define GM_COMMAND_STYLE_H

static const char report_style[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1d2430;--dim:#667085;--card:#f6f7f9;--rule:#dfe3e8;"
    "--c1:#2563eb;--c2:#0d9488;--c3:#d97706;--c4:#9333ea;--c5:#64748b;--c6:#dc2626;"
    "--m0:#fecaca;--m1:#fcd9a8;--m2:#c7e0b4;--m3:#86bf8f;--m4:#3f9469;--mi:#c3cad5;--mr:#eceef2;--ml:#6d8fe0}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#12161d;--fg:#e4e8ee;--dim:#98a2b3;--card:#1b212b;--rule:#303948;"
    "--c1:#6ea0ff;--c2:#2dd4bf;--c3:#fbbf24;--c4:#c084fc;--c5:#94a3b8;--c6:#f87171;"
    "--m0:#7f2d2d;--m1:#7d5527;--m2:#56713f;--m3:#3f8552;--m4:#3cbf7c;--mi:#48525f;--mr:#222935;--ml:#4668b8}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif}"
    "main{max-width:1500px;margin:0 auto;padding:20px 24px 60px}h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:34px 0 10px}"
    "pre{background:var(--card);padding:8px 12px;border-radius:6px;overflow-x:auto;margin:6px 0 14px;font-size:13px}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(165px,1fr));gap:10px;margin:14px 0}"
    ".tile{background:var(--card);border-radius:8px;padding:9px 13px}.tile b{display:block;font-size:19px;font-weight:600}"
    ".tile span{color:var(--dim);font-size:13px}"
    ".grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(480px,1fr));gap:18px}"
    "figure{margin:0;background:var(--card);border-radius:8px;padding:12px 14px;min-width:0}figcaption{font-weight:600;margin-bottom:6px}"
    "svg{width:100%;height:auto;display:block}.grid{stroke:var(--rule);stroke-width:1}.tick{fill:var(--dim);font-size:11px}"
    ".line{fill:none;stroke-width:1.8;stroke-linejoin:round}.line.thick{stroke-width:2.6}.area{stroke:none;opacity:.55}"
    ".stick{stroke:var(--c6);stroke-width:2}.whisker{stroke:var(--fg);stroke-width:1.5}"
    ".line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}.line.c5{stroke:var(--c5)}.line.c6{stroke:var(--c6)}"
    ".area.c1,.fill.c1,.key.c1{fill:var(--c1);background:var(--c1)}.area.c2,.fill.c2,.key.c2{fill:var(--c2);background:var(--c2)}"
    ".area.c3,.fill.c3,.key.c3{fill:var(--c3);background:var(--c3)}.area.c4,.fill.c4,.key.c4{fill:var(--c4);background:var(--c4)}"
    ".area.c5,.fill.c5,.key.c5{fill:var(--c5);background:var(--c5)}.area.c6,.fill.c6,.key.c6{fill:var(--c6);background:var(--c6)}"
    ".part,.k-part{fill:var(--c1);background:var(--c1)}.whole,.k-whole{fill:var(--mi);background:var(--mi)}"
    ".m0,.k-m0{fill:var(--m0);background:var(--m0)}.m1,.k-m1{fill:var(--m1);background:var(--m1)}.m2,.k-m2{fill:var(--m2);background:var(--m2)}"
    ".m3,.k-m3{fill:var(--m3);background:var(--m3)}.m4,.k-m4{fill:var(--m4);background:var(--m4)}.mi,.k-mi{fill:var(--mi);background:var(--mi)}"
    ".mr,.k-mr{fill:var(--mr);background:var(--mr)}.ml,.k-ml{fill:var(--ml);background:var(--ml)}"
    ".legend{margin:6px 0 0;color:var(--dim);font-size:13px}.key{display:inline-block;width:11px;height:11px;border-radius:3px;margin:0 5px 0 10px}"
    "table{border-collapse:collapse;font-size:13px;width:100%}th,td{padding:3px 10px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}"
    "th{color:var(--dim);font-weight:500}th:first-child,td:first-child{text-align:left}.wrap{overflow-x:auto}"
    ".note{color:var(--dim);font-size:13px}summary{cursor:pointer;color:var(--dim)}\n";

#endif
