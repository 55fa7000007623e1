"""Methods that drag in another way than GoodDrag: one difference a module. Settings are in `methods.py`."""
