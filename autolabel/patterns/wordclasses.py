"""Closed classes of English function words: what a list of words is called, and ready-made atoms for a search over contexts.

The key is what a label says, in the singular with its article left out; members are case-folded single words (UAX 29). A word
may be in several classes.
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FUNCTION_CLASSES: dict[str, frozenset[str]] = {
    "personal pronoun": _set("i you he she it we they me him her us them thou thee ye"),
    "possessive": _set("my your his her its our their mine yours hers ours theirs whose thy"),
    "reflexive pronoun": _set("myself yourself himself herself itself ourselves yourselves themselves oneself"),
    "indefinite pronoun": _set("someone somebody something anyone anybody anything everyone everybody everything nobody nothing none"),
    "demonstrative": _set("this that these those"),
    "article": _set("a an the"),
    "quantifier": _set("all any both each either every few fewer less many more most much neither several some such enough"),
    "preposition": _set(
        "about above across after against along amid among around as at before behind below beneath beside between beyond by despite "
        "down during except for from in inside into like near of off on onto out outside over past per since through throughout to "
        "toward towards under until up upon via with within without"),
    "coordinating conjunction": _set("and or but nor yet so"),
    "subordinating conjunction": _set("although because before after if once since than that though till unless until when whenever where "
                                      "whereas wherever whether while"),
    "modal verb": _set("can could may might must shall should will would ought cannot can't couldn't won't wouldn't shouldn't mustn't"),
    "form of to be": _set("am is are was were be been being isn't aren't wasn't weren't i'm you're he's she's it's we're they're"),
    "form of to have": _set("have has had having haven't hasn't hadn't i've you've we've they've"),
    "form of to do": _set("do does did doing done don't doesn't didn't"),
    "question word": _set("who whom whose which what when where why how"),
    "negation": _set("not no never nor neither none nothing nobody nowhere cannot can't don't doesn't didn't won't wouldn't isn't aren't "
                     "wasn't weren't couldn't shouldn't hasn't haven't hadn't without"),
    "cardinal number word": _set("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
                                 "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand "
                                 "million billion trillion dozen"),
    "ordinal number word": _set("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth twentieth hundredth "
                                "last next"),
    "day of the week": _set("monday tuesday wednesday thursday friday saturday sunday"),
    "month": _set("january february march april may june july august september october november december"),
    "degree adverb": _set("very quite rather too so extremely fairly almost nearly really somewhat highly more most less least"),
    "verb of saying": _set("say says said saying tell tells told ask asks asked reply replies replied answer answered claim claims claimed "
                           "announce announced explain explained"),
}


def name_of(words: frozenset[str], share: float = 0.7) -> str | None:
    """The class that at least `share` of `words` (case-folded) are in: the one with most, then the smallest; None where there is none."""
    found = [(len(words & members), -len(members), name) for name, members in FUNCTION_CLASSES.items()]
    best = max(found, default=None)
    return best[2] if best and len(words) > 1 and best[0] >= share * len(words) else None


def plural(name: str) -> str:
    """`day of the week` -> `days of the week`."""
    head, *rest = name.split(" of ", 1)
    head = {"form": "forms", "day": "days", "verb": "verbs"}.get(head, head + "s")
    return " of ".join([head, *rest])
