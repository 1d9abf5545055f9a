/* The index entries that records carry; the layout is in doc/format.rst. */

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
