/* Records and the index entries that they carry; the layout is in doc/format.rst. */

#include "_native.h"

enum { LENGTH_BYTES = 2, LONG_BYTES = 4, LONG = 0xFFFF };

static Byte *
put_entry(Byte *to, PyObject *entry)
{
    Py_ssize_t size = PyBytes_GET_SIZE(entry);
    put_big_endian(to, (uint64_t)Py_MIN(size, LONG), LENGTH_BYTES);
    to += LENGTH_BYTES;
    if (size >= LONG) {
        put_big_endian(to, (uint64_t)size, LONG_BYTES);
        to += LONG_BYTES;
    }
    memcpy(to, PyBytes_AS_STRING(entry), (size_t)size);
    return to + size;
}

/* How many bytes entries take; -1 with an error. */
static Py_ssize_t
size_of(PyObject *const *entries, Py_ssize_t count)
{
    Py_ssize_t total = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyBytes_Check(entries[i])) {
            PyErr_Format(PyExc_TypeError, "an entry is bytes, not %R", Py_TYPE(entries[i]));
            return -1;
        }
        Py_ssize_t size = PyBytes_GET_SIZE(entries[i]);
        if (size > UINT32_MAX || total > UINT32_MAX) {
            PyErr_SetString(PyExc_OverflowError, "a record has no room for such entries");
            return -1;
        }
        total += LENGTH_BYTES + (size >= LONG ? LONG_BYTES : 0) + size;
    }
    return total;
}

PyObject *
native_join_entries(PyObject *Py_UNUSED(module), PyObject *given)
{
    PyObject *fast = PySequence_Fast(given, "join_entries() takes an iterable of bytes");
    if (fast == NULL)
        return NULL;
    PyObject **entries = PySequence_Fast_ITEMS(fast), *joined = NULL;
    Py_ssize_t count = PySequence_Fast_GET_SIZE(fast), total = size_of(entries, count);
    if (total >= 0)
        joined = PyBytes_FromStringAndSize(NULL, total);
    if (joined != NULL) {
        Byte *to = (Byte *)PyBytes_AS_STRING(joined);
        for (Py_ssize_t i = 0; i < count; i++)
            to = put_entry(to, entries[i]);
    }
    Py_DECREF(fast);
    return joined;
}

/* The entry at `*at`, which is moved behind it; NULL without an error if it does not fit. */
static PyObject *
entry_at(const Byte *data, Py_ssize_t *at, Py_ssize_t end)
{
    if (end - *at < LENGTH_BYTES)
        return NULL;
    Py_ssize_t length = (Py_ssize_t)get_big_endian(data + *at, LENGTH_BYTES);
    *at += LENGTH_BYTES;
    if (length == LONG) {
        if (end - *at < LONG_BYTES)
            return NULL;
        length = (Py_ssize_t)get_big_endian(data + *at, LONG_BYTES);
        *at += LONG_BYTES;
    }
    if (end - *at < length)
        return NULL;
    *at += length;
    return PyBytes_FromStringAndSize((char *)data + *at - length, length);
}

PyObject *
native_split_entries(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "split_entries() takes bytes, and two places in them");
        return NULL;
    }
    Py_ssize_t at = PyLong_AsSsize_t(args[1]);
    Py_ssize_t end = at == -1 && PyErr_Occurred() ? -1 : PyLong_AsSsize_t(args[2]);
    if (end == -1 && PyErr_Occurred())
        return NULL;
    if (at < 0 || end > PyBytes_GET_SIZE(args[0]))
        Py_RETURN_NONE;
    PyObject *entries = PyList_New(0);
    while (entries != NULL && at < end) {
        PyObject *entry = entry_at((Byte *)PyBytes_AS_STRING(args[0]), &at, end);
        if (entry == NULL) {
            Py_CLEAR(entries);
            if (!PyErr_Occurred())
                Py_RETURN_NONE;
        }
        else if (PyList_Append(entries, entry) < 0)
            Py_CLEAR(entries);
        Py_XDECREF(entry);
    }
    return entries;
}

/* Plain values, written as pickles have them but for the memo, which only what is shared needs. */

static int
digits_of(long long number)
{
    int digits = 1;
    while (digits < 8 && number >> (8 * digits - 1) != (number < 0 ? -1 : 0))
        digits++;
    return digits;
}

/* How many bytes a text or bytes of that size take; -1 if they have to be pickled. */
static Py_ssize_t
sized_size(Py_ssize_t size)
{
    return size <= UINT8_MAX ? 2 + size : size <= UINT32_MAX ? 5 + size : -1;
}

static Py_ssize_t
integer_size(PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow)
        return -1;
    if (0 <= number && number <= UINT16_MAX)
        return number <= UINT8_MAX ? 2 : 3;
    return INT32_MIN <= number && number <= INT32_MAX ? 5 : 2 + digits_of(number);
}

/* How many bytes a value takes; -1 if it has to be pickled. */
static Py_ssize_t
plain_size(PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        Py_ssize_t size;
        if (PyUnicode_AsUTF8AndSize(value, &size) != NULL)
            return sized_size(size);
        PyErr_Clear(); /* a lone surrogate */
        return -1;
    }
    if (PyLong_CheckExact(value))
        return integer_size(value);
    if (value == Py_None || PyBool_Check(value))
        return 1;
    if (PyFloat_CheckExact(value))
        return 9;
    return PyBytes_CheckExact(value) ? sized_size(PyBytes_GET_SIZE(value)) : -1;
}

static Byte *
put_little_endian(Byte *to, uint64_t number, int digits)
{
    for (int i = 0; i < digits; i++, number >>= 8)
        *to++ = (Byte)number;
    return to;
}

static Byte *
put_sized(Byte *to, Byte shorter, Byte longer, const char *data, Py_ssize_t size)
{
    *to++ = size <= UINT8_MAX ? shorter : longer;
    to = put_little_endian(to, (uint64_t)size, size <= UINT8_MAX ? 1 : 4);
    memcpy(to, data, (size_t)size);
    return to + size;
}

static Byte *
put_integer(Byte *to, PyObject *value)
{
    long long number = PyLong_AsLongLong(value);
    Py_ssize_t size = integer_size(value);
    *to++ = size == 2 ? 'K' : size == 3 ? 'M' : size == 5 ? 'J' : 0x8a;
    if (size > 5) {
        size = digits_of(number);
        *to++ = (Byte)size;
        return put_little_endian(to, (uint64_t)number, (int)size);
    }
    return put_little_endian(to, (uint64_t)number, (int)size - 1);
}

static Byte *
put_plain(Byte *to, PyObject *value)
{
    Py_ssize_t size;
    if (PyUnicode_CheckExact(value)) {
        const char *text = PyUnicode_AsUTF8AndSize(value, &size);
        return put_sized(to, 0x8c, 'X', text, size);
    }
    if (PyLong_CheckExact(value))
        return put_integer(to, value);
    if (PyBytes_CheckExact(value))
        return put_sized(to, 'C', 'B', PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    if (PyFloat_CheckExact(value)) {
        *to++ = 'G';
        PyFloat_Pack8(PyFloat_AS_DOUBLE(value), (char *)to, 0);
        return to + 8;
    }
    *to++ = value == Py_None ? 'N' : value == Py_True ? 0x88 : 0x89;
    return to;
}

enum { FIRST_BYTES = 3 }; /* what says that a pickle is one, and that it is of a dict */

/* How many bytes the pickle of a dict takes; -1 if there is more in it than plain values. */
static Py_ssize_t
state_size(PyObject *state)
{
    PyObject *name, *value;
    Py_ssize_t at = 0, count = PyDict_GET_SIZE(state);
    Py_ssize_t total = FIRST_BYTES + (count == 0 ? 1 : count == 1 ? 2 : 3);
    while (PyDict_Next(state, &at, &name, &value)) {
        Py_ssize_t name_size = PyUnicode_CheckExact(name) ? plain_size(name) : -1;
        Py_ssize_t value_size = plain_size(value);
        if (name_size < 0 || value_size < 0)
            return -1;
        total += name_size + value_size;
    }
    return total;
}

static void
put_state(Byte *to, PyObject *state)
{
    PyObject *name, *value;
    Py_ssize_t at = 0, count = PyDict_GET_SIZE(state);
    memcpy(to, "\x80\x05}", FIRST_BYTES);
    to += FIRST_BYTES;
    if (count > 1)
        *to++ = '(';
    while (PyDict_Next(state, &at, &name, &value))
        to = put_plain(put_plain(to, name), value);
    if (count > 0)
        *to++ = count > 1 ? 'u' : 's';
    *to = '.';
}

static bool
take_number(PyObject *given, unsigned long most, unsigned long *number)
{
    *number = PyLong_AsUnsignedLong(given);
    if (*number == (unsigned long)-1 && PyErr_Occurred())
        return false;
    if (*number > most)
        PyErr_Format(PyExc_OverflowError, "a record has no room for %R", given);
    return *number <= most;
}

PyObject *
native_encode_plain(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    unsigned long number, version;
    if (count != 4 || !PyDict_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "encode_plain() takes two numbers, a dict and entries");
        return NULL;
    }
    if (!take_number(args[0], UINT32_MAX, &number) || !take_number(args[1], UINT16_MAX, &version))
        return NULL;
    PyObject *fast = PySequence_Fast(args[3], "encode_plain() takes an iterable of entries");
    if (fast == NULL)
        return NULL;
    PyObject **entries = PySequence_Fast_ITEMS(fast), *record = NULL;
    Py_ssize_t entry_count = PySequence_Fast_GET_SIZE(fast), size = state_size(args[2]);
    Py_ssize_t listed = size < 0 ? -1 : size_of(entries, entry_count);
    if (size < 0)
        record = Py_NewRef(Py_None);
    else if (listed > UINT32_MAX)
        PyErr_SetString(PyExc_OverflowError, "a record has no room for such entries");
    else if (listed >= 0)
        record = PyBytes_FromStringAndSize(NULL, CLASS_BYTES + LONG_BYTES + listed + size);
    if (record != NULL && record != Py_None) {
        Byte *to = (Byte *)PyBytes_AS_STRING(record);
        put_big_endian(to, number, 4);
        put_big_endian(to + 4, version, 2);
        put_big_endian(to + CLASS_BYTES, (uint64_t)listed, LONG_BYTES);
        to += CLASS_BYTES + LONG_BYTES;
        for (Py_ssize_t i = 0; i < entry_count; i++)
            to = put_entry(to, entries[i]);
        put_state(to, args[2]);
    }
    Py_DECREF(fast);
    return record;
}
