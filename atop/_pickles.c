/* The first look at a pickle, and what is made of one that is flat. */

#include "_native.h"

/* A walk as in atop/walk.py, over fewer opcodes and without what is shared but leaves. */

enum { DEEPEST = 100, OWN = 64 };

typedef enum {
    MARK, LIST, DICT, SET, FROZENSET,
    EMPTY_TUPLE, TUPLE, OF_TEXT, OF_BYTES, OF_DELTA, OF_BYTES_AND_ZONE, OF_THREE_INTS,
    CONSTANT, INT, TEXT, BYTES, OBJECT, DELTA, ZONE, OF_TWO_INTS, BYTEARRAY, ITEM,
    CLASS_DATE, CLASS_DATETIME, CLASS_TIME, CLASS_DELTA, CLASS_TIMEZONE, CLASS_ZONEINFO,
    CLASS_DECIMAL, CLASS_UUID,
    FIRST_LEAF = CONSTANT, LAST_IMMUTABLE = ZONE
} Kind;

/* What an unpickler would have there. `at` is where a short text's length is, or, of a mark, how
   many values were below the one before. */
typedef struct {
    Byte kind;
    Byte depth;
    uint32_t at;
} Value;

typedef struct {
    Value *values;
    uint32_t size;
    uint32_t room;
    Value own[OWN];
} Values;

typedef struct {
    const Byte *data;
    const Byte *at;
    const Byte *end;
    const Byte *frame_end;
    uint32_t bottom; /* where the values after the last mark begin */
    bool items;      /* whether it refers to any */
    bool flat;       /* whether the first dict has no values that can change */
    Values stack;
    Values memo;
} Walk;

static const struct {
    const char *module;
    const char *name;
    Kind kind;
} CLASSES[] = { /* with their lengths */
    {"\10datetime", "\4date", CLASS_DATE},
    {"\10datetime", "\10datetime", CLASS_DATETIME},
    {"\10datetime", "\4time", CLASS_TIME},
    {"\10datetime", "\11timedelta", CLASS_DELTA},
    {"\10datetime", "\10timezone", CLASS_TIMEZONE},
    {"\10zoneinfo", "\10ZoneInfo", CLASS_ZONEINFO},
    {"\7decimal", "\7Decimal", CLASS_DECIMAL},
    {"\4uuid", "\4UUID", CLASS_UUID},
};

static bool
grow(Values *values)
{
    bool owned = values->values == values->own;
    size_t room = 2 * (size_t)values->room;
    if (room > UINT32_MAX)
        return false;
    Value *more = PyMem_Realloc(owned ? NULL : values->values, room * sizeof *more);
    if (more == NULL)
        return false;
    if (owned)
        memcpy(more, values->own, sizeof values->own);
    values->values = more;
    values->room = (uint32_t)room;
    return true;
}

static inline bool
append(Values *values, Value value)
{
    if (values->size == values->room && !grow(values))
        return false;
    values->values[values->size++] = value;
    return true;
}

static inline bool
push(Walk *walk, Kind kind, unsigned depth)
{
    return depth < DEEPEST && append(&walk->stack, (Value){(Byte)kind, (Byte)depth, 0});
}

/* The values above the last mark are `count` or more. */
static inline bool
has(const Walk *walk, uint32_t count)
{
    return walk->stack.size - walk->bottom >= count;
}

/* The value that is `below` others. */
static inline Value *
top(Walk *walk, uint32_t below)
{
    return &walk->stack.values[walk->stack.size - 1 - below];
}

/* Over `size` bytes, behind which there are more, since a pickle ends with its STOP. */
static inline bool
skip(Walk *walk, uint64_t size)
{
    if (size >= (uint64_t)(walk->end - walk->at))
        return false;
    walk->at += size;
    return true;
}

static inline bool
literal(Walk *walk, const char *bytes, size_t size)
{
    const Byte *begin = walk->at;
    return skip(walk, size) && memcmp(begin, bytes, size) == 0;
}

static inline bool
little_endian(Walk *walk, int digits, uint64_t *number)
{
    const Byte *begin = walk->at;
    *number = 0;
    if (!skip(walk, (uint64_t)digits))
        return false;
    for (int i = digits - 1; i >= 0; i--)
        *number = *number << 8 | begin[i];
    return true;
}

/* Over a length of `digits` bytes and as many bytes as it says. */
static inline bool
sized(Walk *walk, Kind kind, int digits)
{
    uint64_t size;
    return little_endian(walk, digits, &size) && skip(walk, size) && push(walk, kind, 0);
}

/* An unpickler goes astray where an opcode crosses the end of a frame. */
static bool
frame(Walk *walk)
{
    uint64_t size;
    if (walk->at - 1 < walk->frame_end || !little_endian(walk, 8, &size)
        || size > (uint64_t)(walk->end - walk->at))
        return false;
    walk->frame_end = walk->at + size;
    return true;
}

static inline bool
short_text(Walk *walk)
{
    uint32_t at = (uint32_t)(walk->at - walk->data);
    if (!sized(walk, TEXT, 1))
        return false;
    top(walk, 0)->at = at;
    return true;
}

static inline bool
fixed(Walk *walk, Kind kind, uint64_t size)
{
    return skip(walk, size) && push(walk, kind, 0);
}

static inline bool
memoize(Walk *walk)
{
    return has(walk, 1) && append(&walk->memo, *top(walk, 0));
}

/* What can hold others is held once only: so there are never more values than bytes. */
static inline bool
recall(Walk *walk, int digits)
{
    uint64_t number;
    if (!little_endian(walk, digits, &number) || number >= walk->memo.size
        || walk->memo.values[number].kind < FIRST_LEAF)
        return false;
    return append(&walk->stack, walk->memo.values[number]);
}

static inline bool
mark(Walk *walk)
{
    if (!append(&walk->stack, (Value){MARK, 0, walk->bottom}))
        return false;
    walk->bottom = walk->stack.size;
    return true;
}

static unsigned
depth_above(const Walk *walk, uint32_t begin)
{
    unsigned depth = 0;
    for (uint32_t i = begin; i < walk->stack.size; i++)
        depth = Py_MAX(depth, walk->stack.values[i].depth);
    return depth + 1;
}

/* The last `count` values go into the one before them. */
static bool
put(Walk *walk, Kind kind, uint32_t count)
{
    if (!has(walk, count + 1))
        return false;
    Value *target = top(walk, count);
    unsigned depth = Py_MAX(target->depth, depth_above(walk, walk->stack.size - count));
    if (target->kind != kind || depth >= DEEPEST)
        return false;
    target->depth = (Byte)depth;
    if (target == walk->stack.values)
        for (uint32_t below = 0; below < count; below += 2) {
            Kind value = top(walk, below)->kind;
            walk->flat &= FIRST_LEAF <= value && value <= LAST_IMMUTABLE;
        }
    walk->stack.size -= count;
    return true;
}

/* Takes the last mark away from below the values after it; `count` is how many these are. */
static bool
unmark(Walk *walk, uint32_t *count)
{
    Value *values = walk->stack.values;
    if (walk->bottom == 0)
        return false;
    uint32_t before = values[walk->bottom - 1].at;
    *count = walk->stack.size - walk->bottom;
    memmove(values + walk->bottom - 1, values + walk->bottom, *count * sizeof *values);
    walk->stack.size--;
    walk->bottom = before;
    return true;
}

static bool
put_marked(Walk *walk, Kind kind)
{
    uint32_t count;
    return unmark(walk, &count) && (kind != DICT || count % 2 == 0) && put(walk, kind, count);
}

static bool
make(Walk *walk, Kind kind, uint32_t count)
{
    unsigned depth = depth_above(walk, walk->stack.size - count);
    walk->stack.size -= count;
    return push(walk, kind, depth);
}

static bool
make_marked(Walk *walk, Kind kind)
{
    uint32_t count;
    return unmark(walk, &count) && make(walk, kind, count);
}

static Kind
kind_of_tuple(Walk *walk, uint32_t count)
{
    Kind last = top(walk, 0)->kind;
    if (count == 1)
        return last == TEXT ? OF_TEXT : last == BYTES ? OF_BYTES : last == DELTA ? OF_DELTA : TUPLE;
    Kind before = top(walk, 1)->kind;
    if (count == 2 && before == BYTES && last == ZONE)
        return OF_BYTES_AND_ZONE;
    if (before != INT || last != INT)
        return TUPLE;
    return count == 2 ? OF_TWO_INTS : top(walk, 2)->kind == INT ? OF_THREE_INTS : TUPLE;
}

static bool
small_tuple(Walk *walk, uint32_t count)
{
    return has(walk, count) && make(walk, kind_of_tuple(walk, count), count);
}

static bool
is_named(const Walk *walk, const Value *value, const char *name)
{
    const Byte *text = walk->data + value->at;
    return value->kind == TEXT && value->at && text[0] == name[0]
           && memcmp(text, name, (size_t)name[0] + 1) == 0;
}

static bool
find_class(Walk *walk)
{
    if (!has(walk, 2))
        return false;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(CLASSES); i++)
        if (is_named(walk, top(walk, 0), CLASSES[i].name)
            && is_named(walk, top(walk, 1), CLASSES[i].module)) {
            walk->stack.size -= 2;
            return push(walk, CLASSES[i].kind, 0);
        }
    return false;
}

/* What a call makes; MARK if it is not called so. */
static Kind
made_by(Kind called, Kind args)
{
    switch (called) {
    case CLASS_DATE:
        return args == OF_BYTES || args == OF_THREE_INTS ? OBJECT : MARK;
    case CLASS_DATETIME:
        return args == OF_BYTES || args == OF_BYTES_AND_ZONE || args == OF_THREE_INTS ? OBJECT
                                                                                    : MARK;
    case CLASS_TIME: return args == OF_BYTES || args == OF_BYTES_AND_ZONE ? OBJECT : MARK;
    case CLASS_DELTA: return args == OF_THREE_INTS ? DELTA : MARK;
    case CLASS_TIMEZONE: return args == OF_DELTA ? ZONE : MARK;
    case CLASS_ZONEINFO: return args == OF_TEXT ? ZONE : MARK;
    case CLASS_DECIMAL: return args == OF_TEXT ? OBJECT : MARK;
    default: return MARK;
    }
}

static bool
call(Walk *walk)
{
    if (!has(walk, 2))
        return false;
    Kind made = made_by(top(walk, 1)->kind, top(walk, 0)->kind);
    return made != MARK && make(walk, made, 2);
}

static bool
item(Walk *walk)
{
    if (!has(walk, 1) || top(walk, 0)->kind != OF_TWO_INTS)
        return false;
    walk->stack.size--;
    walk->items = true;
    return push(walk, ITEM, 0);
}

static inline bool
take(Walk *walk, Byte code)
{
    return *walk->at == code && skip(walk, 1);
}

static bool
attribute_name(Walk *walk)
{
    if (take(walk, 0x8c))
        return short_text(walk) && memoize(walk) && take(walk, 0x94);
    return take(walk, 'h') && recall(walk, 1) && top(walk, 0)->kind == TEXT;
}

static bool
integer(Walk *walk)
{
    if (take(walk, 0x8a))
        return sized(walk, INT, 1);
    return (take(walk, 'K') && fixed(walk, INT, 1)) || (take(walk, 'M') && fixed(walk, INT, 2))
           || (take(walk, 'J') && fixed(walk, INT, 4));
}

/* A UUID is made empty, and then has the dict of its only attribute put into it. */
static bool
uuid(Walk *walk)
{
    if (!has(walk, 2) || top(walk, 1)->kind != CLASS_UUID || top(walk, 0)->kind != EMPTY_TUPLE)
        return false;
    walk->stack.size -= 2;
    if (!push(walk, OBJECT, 2) || !literal(walk, "\x94}\x94", 3) || !memoize(walk)
        || !append(&walk->memo, (Value){DICT, 0, 0}))
        return false;
    if (!attribute_name(walk) || !integer(walk) || !literal(walk, "sb", 2))
        return false;
    walk->stack.size -= 2;
    return true;
}

/* Over an opcode, of which there is a byte and another one. */
static inline bool
opcode(Walk *walk)
{
    switch (*walk->at++) {
    case 0x8c: return short_text(walk);
    case 0x94: return memoize(walk);
    case 'h': return recall(walk, 1);
    case 'j': return recall(walk, 4);
    case 'K': return fixed(walk, INT, 1);
    case 'M': return fixed(walk, INT, 2);
    case 'J': return fixed(walk, INT, 4);
    case 'G': return fixed(walk, CONSTANT, 8);
    case 'N': case 0x88: case 0x89: return push(walk, CONSTANT, 0);
    case 'X': return sized(walk, TEXT, 4);
    case 0x8d: return sized(walk, TEXT, 8);
    case 'C': return sized(walk, BYTES, 1);
    case 'B': return sized(walk, BYTES, 4);
    case 0x8e: return sized(walk, BYTES, 8);
    case 0x96: return sized(walk, BYTEARRAY, 8);
    case 0x8a: return sized(walk, INT, 1);
    case ']': return push(walk, LIST, 0);
    case '}': return push(walk, DICT, 0);
    case 0x8f: return push(walk, SET, 0);
    case ')': return push(walk, EMPTY_TUPLE, 0);
    case '(': return mark(walk);
    case 'a': return put(walk, LIST, 1);
    case 's': return put(walk, DICT, 2);
    case 'e': return put_marked(walk, LIST);
    case 'u': return put_marked(walk, DICT);
    case 0x90: return put_marked(walk, SET);
    case 't': return make_marked(walk, TUPLE);
    case 0x91: return make_marked(walk, FROZENSET);
    case 0x85: return small_tuple(walk, 1);
    case 0x86: return small_tuple(walk, 2);
    case 0x87: return small_tuple(walk, 3);
    case 0x93: return find_class(walk);
    case 'R': return call(walk);
    case 0x81: return uuid(walk);
    case 'Q': return item(walk);
    case 0x95: return frame(walk);
    default: return false;
    }
}

static inline bool
step(Walk *walk)
{
    const Byte *begin = walk->at;
    return begin + 1 < walk->end && opcode(walk)
           && !(begin < walk->frame_end && walk->frame_end < walk->at);
}

int
simplicity(const Byte *data, Py_ssize_t size)
{
    Walk walk;
    walk.data = walk.at = walk.frame_end = data;
    walk.end = data + size;
    walk.items = false;
    walk.flat = true;
    walk.bottom = walk.stack.size = walk.memo.size = 0;
    walk.stack.room = walk.memo.room = OWN;
    walk.stack.values = walk.stack.own;
    walk.memo.values = walk.memo.own;
    bool good = size > 2 && (uint64_t)size <= UINT32_MAX;
    if (good && data[0] == 0x80)
        good = (data[1] == 4 || data[1] == 5) && skip(&walk, 2);
    /* Every step leaves a byte to read. */
    while (good && *walk.at != '.')
        good = step(&walk);
    good = good && walk.at + 1 == walk.end && walk.bottom == 0 && walk.stack.size == 1;
    bool flat = good && walk.flat && walk.stack.values[0].kind == DICT;
    if (walk.stack.values != walk.stack.own)
        PyMem_Free(walk.stack.values);
    if (walk.memo.values != walk.memo.own)
        PyMem_Free(walk.memo.values);
    if (!good)
        return CLOSELY;
    return walk.items ? WITH_ITEMS : flat ? FLAT : VALUES;
}

PyObject *
native_simplicity(PyObject *Py_UNUSED(module), PyObject *pickled)
{
    return PyLong_FromLong(PyBytes_Check(pickled)
                               ? simplicity((Byte *)PyBytes_AS_STRING(pickled),
                                            PyBytes_GET_SIZE(pickled))
                               : 0);
}

/* The values of a FLAT pickle, as an unpickler makes them, in half its time; the names are interned,
   as those of attributes are, so that items share them. */

typedef struct {
    PyObject *values[OWN];
    int size;
} Pile;

static bool
add_to(Pile *pile, PyObject *value)
{
    if (value == NULL)
        return false;
    if (pile->size == OWN) {
        Py_DECREF(value);
        return false;
    }
    pile->values[pile->size++] = value;
    return true;
}

static void
shrink(Pile *pile, int size)
{
    while (pile->size > size)
        Py_DECREF(pile->values[--pile->size]);
}

static uint64_t
take_number(const Byte **at, int digits)
{
    uint64_t number = 0;
    for (int i = digits - 1; i >= 0; i--)
        number = number << 8 | (*at)[i];
    *at += digits;
    return number;
}

static PyObject *
take_text(const Byte **at, int digits)
{
    Py_ssize_t size = (Py_ssize_t)take_number(at, digits);
    *at += size;
    return PyUnicode_DecodeUTF8((const char *)*at - size, size, "surrogatepass");
}

static PyObject *
take_bytes(const Byte **at, int digits)
{
    Py_ssize_t size = (Py_ssize_t)take_number(at, digits);
    *at += size;
    return PyBytes_FromStringAndSize((const char *)*at - size, size);
}

static PyObject *
take_long(const Byte **at)
{
    size_t size = (size_t)take_number(at, 1);
    *at += size;
    return _PyLong_FromByteArray(*at - size, size, 1, 1);
}

static PyObject *
take_float(const Byte **at)
{
    double value = PyFloat_Unpack8((const char *)*at, 0);
    *at += 8;
    return value == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(value);
}

/* A value that has no others in it. NULL without an error for an opcode that is none. */
static PyObject *
take_value(Byte code, const Byte **at, const Pile *memo)
{
    switch (code) {
    case 0x8c: return take_text(at, 1);
    case 'X': return take_text(at, 4);
    case 'C': return take_bytes(at, 1);
    case 'B': return take_bytes(at, 4);
    case 'K': return PyLong_FromLong((long)take_number(at, 1));
    case 'M': return PyLong_FromLong((long)take_number(at, 2));
    case 'J': return PyLong_FromLong((int32_t)take_number(at, 4));
    case 0x8a: return take_long(at);
    case 'G': return take_float(at);
    case 'N': return Py_NewRef(Py_None);
    case 0x88: return Py_NewRef(Py_True);
    case 0x89: return Py_NewRef(Py_False);
    case 'h': return Py_NewRef(memo->values[take_number(at, 1)]);
    default: return NULL;
    }
}

/* The values from `first` on, names and what they are of, go into the dict below all. */
static bool
put_attributes(Pile *stack, int first)
{
    for (int i = first; i < stack->size; i += 2) {
        PyObject **name = &stack->values[i];
        if (PyUnicode_CheckExact(*name))
            PyUnicode_InternInPlace(name);
        if (PyDict_SetItem(stack->values[0], *name, stack->values[i + 1]) < 0)
            return false;
    }
    shrink(stack, first);
    return true;
}

/* Over what simplicity() found to be FLAT. False, maybe without an error, where it is not done. */
static bool
take_attributes(const Byte *at, Pile *stack, Pile *memo)
{
    int marked = 0;
    bool good = true;
    if (*at == 0x80)
        at += 2;
    while (good) {
        Byte code = *at++;
        switch (code) {
        case '.': return stack->size == 1;
        case 0x95: at += 8; break;
        case '}': good = stack->size == 0 && add_to(stack, PyDict_New()); break;
        case '(': good = marked == 0 && (marked = stack->size) > 0; break;
        case 0x94: good = add_to(memo, Py_NewRef(stack->values[stack->size - 1])); break;
        case 's': good = put_attributes(stack, stack->size - 2); break;
        case 'u': good = marked > 0 && put_attributes(stack, marked), marked = 0; break;
        default: good = add_to(stack, take_value(code, &at, memo));
        }
    }
    return false;
}

PyObject *
flat_state(const Byte *data)
{
    Pile stack, memo;
    stack.size = memo.size = 0;
    PyObject *state = take_attributes(data, &stack, &memo) ? Py_NewRef(stack.values[0]) : NULL;
    shrink(&stack, 0);
    shrink(&memo, 0);
    return state;
}
