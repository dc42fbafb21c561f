#!/usr/bin/env python3
"""Writes zones.txt: from the beginning of a phone number to the time zones that its owner may be in.

    pip install phonenumbers==9.0.43 && ./zones.py > zones.txt      write it anew
    ./zones.py --check                                              exit code 1 if it would come out different

The facts are libphonenumber's (resources/timezones/map_data.txt, Apache-2.0), as its Python port brings them. Two
things are done to them. A number that is of no place (a mobile one in most countries, a service number) may be
anywhere in its country: what begins like one gets all of its country's zones. The plans in which a mobile number begins with its
area's code are left alone. And what says the same as the shorter beginning does is left out.
"""

import random
import sys
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumberType
from phonenumbers.tzdata import TIMEZONE_DATA

NORTH_AMERICA = "1"
# Mexico, Argentina, Brazil. In North America, too, no number tells that it is a mobile one.
MOBILE_HAS_PLACE = {"52", "54", "55"}
PLACED = {PhoneNumberType.FIXED_LINE, PhoneNumberType.FIXED_LINE_OR_MOBILE, PhoneNumberType.UNKNOWN}
SAMPLES = 300
UNKNOWN = "Etc/Unknown"


def country(prefix):
    """The calling code that a prefix begins with; none if it is shorter."""
    for length in (1, 2, 3):
        if int(prefix[:length]) in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            return prefix[:length] if len(prefix) >= length else None
    return None


def lengths(code):
    """How many digits numbers of a calling code have after it."""
    found = set()
    for region in phonenumbers.COUNTRY_CODE_TO_REGION_CODE[int(code)]:
        metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(code), region)
        found.update(metadata.general_desc.possible_length)
    return sorted(length for length in found if length > 0)


def is_placeless(prefix, code, rng):
    """Whether some number that begins so is of no place."""
    national = prefix[len(code):]
    placed = PLACED | ({PhoneNumberType.MOBILE} if code in MOBILE_HAS_PLACE else set())
    for length in lengths(code):
        missing = length - len(national)
        if missing < 0:
            continue
        for _ in range(SAMPLES):
            rest = "".join(rng.choice("0123456789") for _ in range(missing))
            try:
                number = phonenumbers.parse("+" + code + national + rest)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(number) and phonenumbers.number_type(number) not in placed:
                return True
    return False


def table():
    rng = random.Random(1)
    zones = {prefix: tuple(zone for zone in names if zone != UNKNOWN) for prefix, names in TIMEZONE_DATA.items()}
    for prefix in sorted(zones):
        code = country(prefix)
        if code in (None, prefix, NORTH_AMERICA):
            continue
        everywhere = zones.get(code, zones[prefix])
        if zones[prefix] != everywhere and is_placeless(prefix, code, rng):
            zones[prefix] = everywhere
    kept = {}
    for prefix in sorted(zones):
        shorter = (kept[prefix[:length]] for length in range(len(prefix) - 1, 0, -1) if prefix[:length] in kept)
        if zones[prefix] != next(shorter, None):
            kept[prefix] = zones[prefix]
    return kept


def text():
    lines = [
        "# Time zones by the beginning of a phone number. Written by zones.py; do not edit.",
        f"# Source: libphonenumber {phonenumbers.__version__}, resources/timezones/map_data.txt,",
        "# Copyright (C) The Libphonenumber Authors, Apache License 2.0; service and mobile numbers widened to their country.",
        "# Sorted as text, so that it is searched as it stands.",
    ]
    lines += [f"{prefix} {' '.join(names)}" for prefix, names in sorted(table().items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        known = Path(__file__).with_name("zones.txt").read_text()
        sys.exit(0 if known == text() else "zones.txt is not what zones.py writes")
    sys.stdout.write(text())
