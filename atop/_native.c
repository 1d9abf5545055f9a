/* The module atop._native: what atop/native.py does, in C. */

#include "_native.h"

static const char *const BOND_NAMES[BOND_VALUES] = {"key", "session", "mark", "stored", "fresh"};

static PyMethodDef methods[] = {
    {"encode_key", (PyCFunction)(void (*)(void))native_encode_key, METH_FASTCALL,
     PyDoc_STR("encode_key(value, encoders)\n--\n\nA key's bytes; None if its type is unknown.")},
    {"encode_entries", (PyCFunction)(void (*)(void))native_encode_entries, METH_FASTCALL,
     PyDoc_STR("encode_entries(prefixes, values, encoders)\n--\n\n"
               "Each prefix with the bytes of its value after it.")},
    {"decode_keys", (PyCFunction)(void (*)(void))native_decode_keys, METH_FASTCALL,
     PyDoc_STR("decode_keys(rows, offset, decode)\n--\n\n"
               "The key that begins at an offset of each row.")},
    {"decode_ids", native_decode_ids, METH_O,
     PyDoc_STR("decode_ids(rows)\n--\n\nThe ids that the keys of rows end in.")},
    {"join_entries", native_join_entries, METH_O,
     PyDoc_STR("join_entries(entries)\n--\n\nThe entries, each with its length before it.")},
    {"split_entries", (PyCFunction)(void (*)(void))native_split_entries, METH_FASTCALL,
     PyDoc_STR("split_entries(record, start, end)\n--\n\n"
               "The entries that stand there; None if they do not end where they should.")},
    {"encode_plain", (PyCFunction)(void (*)(void))native_encode_plain, METH_FASTCALL,
     PyDoc_STR("encode_plain(number, version, state, entries)\n--\n\n"
               "The record of an item with plain values only; None for any other state.")},
    {"make_item", (PyCFunction)(void (*)(void))native_make_item, METH_FASTCALL,
     PyDoc_STR("make_item(key, record, maker)\n--\n\n"
               "The item that a plain record makes; None for any other record.")},
    {"make_page", (PyCFunction)(void (*)(void))native_make_page, METH_FASTCALL,
     PyDoc_STR("make_page(rows, maker, build, find)\n--\n\n"
               "The items of rows, those of them that are new, and how many bytes these had.")},
    {"live_items", native_live_items, METH_O,
     PyDoc_STR("live_items(bonds)\n--\n\nThe items of these bonds; None if one is gone.")},
    {"simplicity", native_simplicity, METH_O,
     PyDoc_STR("simplicity(pickled)\n--\n\n"
               "0 for a pickle to be looked at more closely, 1 for one of plain values and items,\n"
               "2 for one of plain values, 3 for a dict of plain values that cannot change.")},
    {NULL, NULL, 0, NULL},
};

static int
prepare(PyObject *module)
{
    if (prepare_keys() < 0)
        return -1;
    PyObject *pickle = PyImport_ImportModule("pickle");
    if (pickle == NULL)
        return -1;
    State *state = PyModule_GetState(module);
    state->loads = PyObject_GetAttrString(pickle, "loads");
    Py_DECREF(pickle);
    for (int i = 0; i < BOND_VALUES; i++)
        if ((state->names[i] = PyUnicode_InternFromString(BOND_NAMES[i])) == NULL)
            return -1;
    return state->loads == NULL ? -1 : 0;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->loads);
    for (int i = 0; i < BOND_VALUES; i++)
        Py_VISIT(state->names[i]);
    return 0;
}

static int
clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->loads);
    for (int i = 0; i < BOND_VALUES; i++)
        Py_CLEAR(state->names[i]);
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "atop._native",
    .m_doc = PyDoc_STR("Inner loops of atop.native in C."),
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
